/*
 * The rule of If, Loop and Scan. What they make follows from running their bodies, so there is
 * nothing to say before: the executable runs them and plans the rest with what came out.
 */
#include "graph/infer.h"

MD_INFER_RULE(md_infer_control)
{
    (void)node, (void)in, (void)in_count, (void)out, (void)out_count;
    return md_fail(err, MD_ERR_PENDING, "its results follow from running its body");
}
