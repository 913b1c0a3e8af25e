/*
 * A model folder's description: config.json, whose model_type names the family that builds the
 * graph, and where the weights are. The rest of the JSON belongs to the family: its text is kept as
 * it is, already known to be one valid object of bounded size and depth (base/json_in.h).
 */
#ifndef MD_MODEL_CONFIG_H
#define MD_MODEL_CONFIG_H

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
void md_model_config_fini(struct md_model_config *config);

#endif
