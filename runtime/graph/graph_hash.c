/* A digest of a graph: see packs.h. */
#include "graph/packs.h"
#include "tensor/mapping.h"

static void add_shape(struct md_hash *hash, const struct md_shape *shape)
{
    md_hash_number(hash, shape->rank);
    for (int i = 0; i < shape->rank; i++)
        md_hash_number(hash, shape->dim[i]);
}

static void add_tensor(struct md_hash *hash, const struct md_tensor *tensor)
{
    md_hash_number(hash, tensor->data ? (int64_t)tensor->dtype : -1);
    if (!tensor->data)
        return;
    add_shape(hash, &tensor->shape);
    md_hash_add(hash, tensor->data, md_tensor_bytes(tensor));
    md_tensor_forget(tensor);
}

static void add_attr(struct md_hash *hash, const struct md_attr *attr)
{
    md_hash_text(hash, attr->name);
    md_hash_number(hash, attr->type);
    md_hash_number(hash, attr->i);
    md_hash_add(hash, &attr->f, sizeof attr->f);
    md_hash_text(hash, attr->s);
    md_hash_number(hash, attr->count);
    for (int i = 0; i < attr->count; i++) {
        if (attr->ints)
            md_hash_number(hash, attr->ints[i]);
        if (attr->floats)
            md_hash_add(hash, &attr->floats[i], sizeof attr->floats[i]);
        if (attr->strings)
            md_hash_text(hash, attr->strings[i]);
    }
    add_tensor(hash, &attr->tensor);
    if (attr->graph)
        md__graph_hash(attr->graph, hash);
}

static void add_node(struct md_hash *hash, const struct md_node *node)
{
    md_hash_text(hash, md_op_info(node->op)->name);
    md_hash_number(hash, node->in_count);
    for (int i = 0; i < node->in_count; i++)
        md_hash_number(hash, node->in[i]);
    md_hash_number(hash, node->out_count);
    for (int i = 0; i < node->out_count; i++)
        md_hash_number(hash, node->out[i]);
    md_hash_number(hash, node->attr_count);
    for (int i = 0; i < node->attr_count; i++)
        add_attr(hash, &node->attrs[i]);
}

void md__graph_hash(const struct md_graph *graph, struct md_hash *hash)
{
    md_hash_number(hash, graph->value_count);
    for (int v = 0; v < graph->value_count; v++) {
        md_hash_number(hash, graph->values[v].dtype);
        add_shape(hash, &graph->values[v].shape);
        add_tensor(hash, &graph->values[v].constant);
    }
    md_hash_number(hash, graph->node_count);
    for (int n = 0; n < graph->node_count; n++)
        add_node(hash, &graph->nodes[n]);
    md_hash_number(hash, graph->region_count);
    for (int r = 0; r < graph->region_count; r++) {
        md_hash_number(hash, graph->regions[r].node_begin);
        md_hash_number(hash, graph->regions[r].node_end);
        add_node(hash, &graph->regions[r].fused);
    }
    for (int i = 0; i < graph->input_count; i++)
        md_hash_number(hash, graph->inputs[i].value);
    for (int i = 0; i < graph->output_count; i++)
        md_hash_number(hash, graph->outputs[i].value);
    for (int i = 0; i < graph->symbol_count; i++)
        md_hash_number(hash, graph->symbol_samples[i]);
}
