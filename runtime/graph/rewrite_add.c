/* Nodes and constants that several passes add; see rewrite.h. */
#include "graph/rewrite.h"

enum md_status md__rw_add_ints(struct md__rewrite *rewrite, const int64_t *ints, int count,
                               int *value, struct md_error *err)
{
    const struct md_tensor tensor = {
        .dtype = MD_I64, .shape = {1, {count}}, .data = (void *)(uintptr_t)ints};
    return md__rw_add_constant(rewrite, &tensor, value, err);
}

enum md_status md__rw_reshape(struct md__rewrite *rewrite, const int64_t *dims, int rank,
                              int *value, struct md_error *err)
{
    int in[2] = {*value};
    enum md_status status = md__rw_add_ints(rewrite, dims, rank, &in[1], err);
    return status ? status : md__rw_node(rewrite, "Reshape", in, 2, NULL, 0, value, 1, err);
}

enum md_status md__rw_slice(struct md__rewrite *rewrite, int64_t begin, int64_t end, int64_t axis,
                            int *value, struct md_error *err)
{
    const int64_t *lists[] = {&begin, &end, &axis};
    int in[4] = {*value};
    enum md_status status = MD_OK;
    for (int i = 0; !status && i < 3; i++)
        status = md__rw_add_ints(rewrite, lists[i], 1, &in[1 + i], err);
    return status ? status : md__rw_node(rewrite, "Slice", in, 4, NULL, 0, value, 1, err);
}
