/*
 * What a model has run with lately. The first call of new sizes has to be planned, on the
 * executor's thread and at everybody's cost; a new version therefore plans for the sizes of the old
 * one before it is published.
 */
#include <stdlib.h>
#include <string.h>

#include "serve/internal.h"

static bool is_noted(const struct md_model *model, const struct md_tensor *inputs)
{
    for (int k = 0; k < model->recent_count; k++) {
        const struct md_shape *shapes = model->recent + (size_t)k * (size_t)model->input_count;
        int same = 0;
        while (same < model->input_count && md_shape_equal(&shapes[same], &inputs[same].shape)) {
            same++;
        }
        if (same == model->input_count) {
            return true;
        }
    }
    return false;
}

void md__model_note_shapes(struct md_serve *serve, struct md_model *model,
                           const struct md_tensor *inputs)
{
    size_t count = (size_t)model->input_count;

    pthread_mutex_lock(&serve->lock);
    if (!is_noted(model, inputs)) {
        for (size_t i = 0; i < count; i++) {
            model->recent[(size_t)model->recent_next * count + i] = inputs[i].shape;
        }
        model->recent_next = (model->recent_next + 1) % MD__RECENT_MAX;
        model->recent_count += model->recent_count < MD__RECENT_MAX;
    }
    pthread_mutex_unlock(&serve->lock);
}

void md__model_plan_recent(struct md_serve *serve, struct md_model *model,
                           const struct md_model *before)
{
    size_t count = (size_t)model->input_count;
    struct md_shape *shapes = NULL;
    int sets = 0;

    if (before->input_count != model->input_count ||
        (shapes = calloc(MD__RECENT_MAX * count + 1, sizeof *shapes)) == NULL) {
        return;
    }
    pthread_mutex_lock(&serve->lock);
    sets = before->recent_count;
    memcpy(shapes, before->recent, (size_t)sets * count * sizeof *shapes);
    pthread_mutex_unlock(&serve->lock);
    for (int k = 0; k < sets; k++) {
        const struct md_shape *set = shapes + (size_t)k * count;
        if (md__model_takes(model, set)) {
            /* What cannot be planned now fails when it is called for. */
            md_executable_plan(model->executable, set, model->input_count, NULL);
        }
    }
    free(shapes);
}
