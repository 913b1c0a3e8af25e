/* Taking pairs of convolutions apart and putting them together: a table of attributes. */
#include "graph/conv_pair.h"

#include <string.h>

#define PREFIX "first_"

static const char *const names[] = {
    PREFIX "strides",      PREFIX "pads",         PREFIX "dilations",  PREFIX "auto_pad",
    PREFIX "group",        PREFIX "kernel_shape", PREFIX "activation", PREFIX "activation_params",
    PREFIX "output_scale", PREFIX "output_shift",
};
#define NAMES ((int)(sizeof names / sizeof *names))
_Static_assert(sizeof names / sizeof *names == MD_CONV_PAIR_ATTRS_MAX, "one room for each");

static const char *plain(int i)
{
    return names[i] + strlen(PREFIX);
}

void md_conv_pair_split(const struct md_node *node, struct md_conv_pair *pair)
{
    *pair = (struct md_conv_pair){0};
    for (int k = 0; k < 2; k++) {
        struct md_node *made = &pair->node[k];
        *made = (struct md_node){.op = MD_OP_CONV_LAST,
                                 .name = node->name,
                                 .in_count = k ? node->in_count - 2 : 3,
                                 .out_count = 1,
                                 .attrs = pair->attrs[k]};
        for (int i = 0; i < NAMES; i++) {
            const struct md_attr *attr = md_node_attr(node, k ? plain(i) : names[i]);
            if (!attr)
                continue;
            pair->attrs[k][made->attr_count] = *attr;
            pair->attrs[k][made->attr_count++].name = plain(i);
        }
    }
}

int md_conv_pair_join(const struct md_node *first, const struct md_node *second,
                      struct md_attr attrs[2 * MD_CONV_PAIR_ATTRS_MAX])
{
    int count = 0;
    for (int k = 0; k < 2; k++) {
        const struct md_node *node = k ? second : first;
        for (int a = 0; a < node->attr_count; a++) {
            int i = 0;
            while (i < NAMES && strcmp(plain(i), node->attrs[a].name) != 0)
                i++;
            if (i == NAMES || node->attr_count > MD_CONV_PAIR_ATTRS_MAX)
                return -1;
            attrs[count] = node->attrs[a];
            attrs[count++].name = k ? plain(i) : names[i];
        }
    }
    return count;
}
