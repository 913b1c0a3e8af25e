/*
 * What is written beside a model's weights. A folder's description: config.json, whose model_type
 * names the family that builds the graph, and where the weights are. The rest of the JSON belongs
 * to the family: its text is kept as it is, already known to be one valid object of bounded size
 * and depth (base/json_in.h).
 */
#ifndef MD_MODEL_CONFIG_H
#define MD_MODEL_CONFIG_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/status.h"

#define MD_MODEL_TYPE_MAX         64
#define MD_MODEL_CONFIG_BYTES_MAX (4 << 20)

struct md_model_config {
    char model_type[MD_MODEL_TYPE_MAX + 1]; /* [a-z0-9_]+, so it is safe in a path */
    struct md_buffer json;                  /* the text of config.json */
    char *weights_path;                     /* FOLDER/model.safetensors; it need not exist */
};

/*
 * Reads FOLDER/config.json. No folder or no file is MD_ERR_NOT_FOUND, something else in its place
 * MD_ERR_INVALID, wrong content MD_ERR_CORRUPT. *config is set up on success only; fini it then.
 */
enum md_status md_model_config_read(const char *folder, struct md_model_config *config,
                                    struct md_error *err);
/*
 * The text of FILE.json, what there is to say about a model that is one file; "{}" when it does not
 * exist. *json is a heap string for the caller to free.
 */
enum md_status md_model_config_beside(const char *file, char **json, struct md_error *err);

/*
 * A flag for us in the text of a config.json, in its object "moondial": {"finite_inputs": false}.
 * `otherwise` when the text has no such flag, or is no JSON. Known: finite_inputs (default true):
 * calls whose floating-point inputs hold NaN or infinity are refused.
 */
bool md_model_config_flag(const char *json, const char *name, bool otherwise);
void md_model_config_fini(struct md_model_config *config);

#endif
