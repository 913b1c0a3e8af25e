/*
 * A model folder: config.json, whose "model_type" ([a-z0-9_]+) names the family that builds the
 * graph, beside model.safetensors. Only the configuration is read here; its other members belong
 * to the family.
 */
#ifndef MD_MODEL_FOLDER_H
#define MD_MODEL_FOLDER_H

#include "base/buffer.h"
#include "base/status.h"

#define MD_MODEL_TYPE_MAX         64
#define MD_MODEL_CONFIG_BYTES_MAX (4u << 20)

/*
 * Appends the text of folder/config.json to `config`; model_type receives the name of its family.
 */
enum md_status md_folder_config(const char *folder, struct md_buffer *config,
                                char model_type[MD_MODEL_TYPE_MAX], struct md_error *err);

#endif
