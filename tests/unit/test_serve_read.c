/*
 * What md_serve_read says about models that cannot be read.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scratch.h"
#include "serve/serve.h"
#include "unit.h"

static struct md_error err;

/* A builder that notes the family and fails, as a family does whose weights are incomplete. */
static enum md_status build(void *context, const char *folder, const char *model_type,
                            const char *config_json, struct md_graph *graph,
                            struct md_error *build_err)
{
    snprintf(context, 64, "%s", model_type);
    return md_fail(build_err, MD_ERR_CORRUPT, "tensor \"w\" is missing");
}

static void write_text(const char *folder, const char *name, const char *text)
{
    char *path = scratch_path(folder, name);

    scratch_write(path, text, strlen(text));
    free(path);
}

static enum md_status read_model(const struct md_model_builder *builder, const char *folder,
                                 const char *name)
{
    char *path = scratch_path(folder, name), *config = NULL;
    struct md_graph *graph = NULL;
    enum md_status status = md_serve_read(builder, path, &graph, &config, &err);

    free(path);
    return status;
}

static void test_other_things_are_no_models(void **state)
{
    char *folder = scratch_new(), seen[64] = "";
    struct md_model_builder builder = {build, seen};

    write_text(folder, "m.onnx", "");
    write_text(folder, "m.txt", "");
    assert_fails(MD_ERR_NOT_FOUND, read_model(&builder, folder, "none"));
    assert_says("does not exist");
    assert_fails(MD_ERR_CORRUPT, read_model(&builder, folder, "m.onnx"));
    assert_says("m.onnx: no IR version");
    assert_fails(MD_ERR_INVALID, read_model(&builder, folder, "m.txt"));
    assert_says("neither");
    assert_fails(MD_ERR_NOT_FOUND, read_model(&builder, folder, "."));
    assert_says("config.json");
    scratch_delete(folder);
}

static void test_family_is_asked_and_believed(void **state)
{
    char *folder = scratch_new(), seen[64] = "";
    struct md_model_builder builder = {build, seen};

    write_text(folder, "config.json", "{\"model_type\": \"../x\"}");
    assert_fails(MD_ERR_CORRUPT, read_model(&builder, folder, "."));
    assert_string_equal(seen, "");
    write_text(folder, "config.json", "{\"model_type\": \"affine_2\"}");
    assert_fails(MD_ERR_CORRUPT, read_model(&builder, folder, "."));
    assert_says("tensor \"w\" is missing");
    assert_string_equal(seen, "affine_2");
    assert_fails(MD_ERR_UNSUPPORTED, read_model(NULL, folder, "."));
    scratch_delete(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_things_are_no_models),
        cmocka_unit_test(test_family_is_asked_and_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
