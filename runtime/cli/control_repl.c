/*
 * The REPL's ops on the control socket. A session belongs to its connection: it is made by the
 * first request and ends with the connection, whatever it is doing.
 *
 * What a person tries out gets less of the processors than what is served.
 */
#include <sys/resource.h>
#include <unistd.h>

#include "cli/control.h"
#include "script/repl.h"

enum { NICE = 10 };

static void end_session(void *data)
{
    md_repl_close(data);
}

static enum md_status find_session(struct md_control_call *call, struct md_repl **repl,
                                   struct md_error *err)
{
    struct md_repl *made;
    enum md_status status = MD_OK;

    if (call->session->data == NULL) {
        status = md_repl_open(call->context->script, &made, err);
        if (status == MD_OK) {
            call->session->data = made;
            call->session->end = end_session;
        }
    }
    *repl = call->session->data;
    return status;
}

static void interrupt(void *repl)
{
    md_repl_interrupt(repl, true);
}

static void print(void *context, const char *text, size_t length)
{
    md__control_event(context,
                      json_pack("{s:s, s:s%}", "event", "print", "text", text, (size_t)length));
}

enum md_status md__control_repl(struct md_control_call *call, json_t *request, struct md_error *err)
{
    struct md_repl_output output = {print, call};
    struct md_repl *repl;
    enum md_status status;

    setpriority(PRIO_PROCESS, (id_t)gettid(), NICE); /* of this call's threads, made from it */
    status = find_session(call, &repl, err);
    if (status != MD_OK) {
        return status;
    }
    md_repl_interrupt(repl, false);
    md__control_on_cancel(call, interrupt, repl);
    status = md_repl_ask(repl, request, &output, call->result, err);
    md__control_on_cancel(call, NULL, NULL);
    return status;
}
