/* See blocking.h. */
#include "base/blocking.h"

#include <stddef.h>

static _Thread_local struct {
    void (*begin)(void *context);
    void *context;
} lender;

void md_blocking_set(void (*begin)(void *context), void *context)
{
    lender.begin = begin;
    lender.context = context;
}

void md_blocking_begin(void)
{
    if (lender.begin != NULL)
        lender.begin(lender.context);
}
