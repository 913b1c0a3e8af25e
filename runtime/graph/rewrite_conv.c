/* What passes ask about convolutions and poolings; see rewrite.h. */
#include <string.h>

#include "graph/rewrite.h"

bool md__is_pointwise(const struct md_tensor *weights)
{
    for (int i = 2; weights && i < weights->shape.rank; i++)
        if (weights->shape.dim[i] != 1)
            return false;
    return weights != NULL;
}

bool md__ints_all(const struct md_node *node, const char *name, int64_t number)
{
    const struct md_attr *attr = md_node_attr(node, name);
    for (int i = 0; attr && i < attr->count; i++)
        if (attr->type != MD_ATTR_INTS || attr->ints[i] != number)
            return false;
    return true;
}

bool md__pads_are_numbers(const struct md_node *node)
{
    const char *automatic = md_node_string(node, "auto_pad", "NOTSET");
    return strcmp(automatic, "NOTSET") == 0 || strcmp(automatic, "VALID") == 0;
}

bool md__is_unpadded(const struct md_node *node)
{
    return md__pads_are_numbers(node) && md__ints_all(node, "pads", 0);
}
