/*
 * `inspect` for people: its report, which inspect.c gathers, as text.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/inspect.h"

/* Names come out of a file: the terminal is not to obey them. */
static void print_name(const char *name, int width)
{
    int columns = 0;

    for (; name[columns] != '\0'; columns++) {
        unsigned char c = (unsigned char)name[columns];
        putchar(c < 0x20 || c == 0x7f ? '?' : c);
    }
    printf("%*s", columns < width ? width - columns : 0, "");
}

static void print_counts(const char *title, const json_t *object)
{
    const char *name;
    json_t *value;

    printf("%s\n", title);
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        printf("  ");
        print_name(name, 44);
        printf(" %lld\n", (long long)json_number_value(value));
    }
}

static void print_ports(const char *title, const json_t *ports)
{
    size_t index;
    json_t *port;

    printf("%s\n", title);
    json_array_foreach(ports, index, port)
    {
        const json_t *known = json_object_get(port, "shape");
        char *shape = json_is_null(known) ? NULL : json_dumps(known, JSON_ENCODE_ANY);
        printf("  ");
        print_name(json_string_value(json_object_get(port, "name")), 24);
        printf(" %-8s %s\n",
               json_is_null(json_object_get(port, "dtype"))
                   ? "?"
                   : json_string_value(json_object_get(port, "dtype")),
               shape != NULL ? shape : "?");
        free(shape);
    }
}

static void print_regions(const json_t *regions)
{
    print_counts("fused operators that were asked for", json_object_get(regions, "asked"));
    printf("  fused %lld, kept as primitives %lld, refused for wrong numbers %lld\n",
           (long long)json_integer_value(json_object_get(regions, "fused")),
           (long long)json_integer_value(json_object_get(regions, "kept")),
           (long long)json_integer_value(json_object_get(regions, "disagreed")));
}

static void print_places(const char *backend, const json_t *places)
{
    const char *name;
    json_t *own;

    printf("what runs where: %lld steps on kernels of %s, %lld on reference kernels, "
           "%lld of control flow\n",
           (long long)json_integer_value(json_object_get(places, "kernels")), backend,
           (long long)json_integer_value(json_object_get(places, "reference")),
           (long long)json_integer_value(json_object_get(places, "control")));
    json_object_foreach(json_object_get(places, "by_operator"), name, own)
    {
        long long plain = json_integer_value(json_object_get(own, "reference"));
        if (plain > 0) {
            printf("  %-44s %lld on reference kernels\n", name, plain);
        }
    }
}

static void print_device(const json_t *device, const json_t *places)
{
    const char *why = json_string_value(json_object_get(device, "why"));
    const char *failure = json_string_value(json_object_get(device, "failure")), *name;
    json_t *own;

    if (why != NULL) {
        printf("device: cpu (%s)\n", why);
        return;
    }
    printf("device: %s in %s, %lld steps on it, %lld copies, %lld steps not worth theirs\n",
           json_string_value(json_object_get(device, "name")),
           json_string_value(json_object_get(device, "precision")),
           (long long)json_integer_value(json_object_get(places, "device")),
           (long long)json_integer_value(json_object_get(places, "copies")),
           (long long)json_integer_value(json_object_get(places, "left")));
    if (failure != NULL) {
        printf("  failed, the CPU took over: %s\n", failure);
    }
    json_object_foreach(json_object_get(places, "by_operator"), name, own)
    {
        long long copies = json_integer_value(json_object_get(own, "copies"));
        long long there = json_integer_value(json_object_get(own, "device")), here = 0;
        for (enum md__place place = MD__PLACE_KERNELS; place <= MD__PLACE_CONTROL; place++) {
            here += json_integer_value(json_object_get(own, md__place_names[place]));
        }
        if (here > 0 || copies > 0) {
            printf("  %-44s %lld on the device, %lld on the CPU, %lld copies for it\n", name, there,
                   here, copies);
        }
    }
}

static void print_rolling(const json_t *rolling)
{
    if (json_is_true(json_object_get(rolling, "rolls"))) {
        printf("rolling: keeps %s; %lld bytes a window\n",
               json_string_value(json_object_get(rolling, "keeps")),
               (long long)json_integer_value(json_object_get(rolling, "window_bytes")));
    } else {
        printf("rolling: no, %s\n", json_string_value(json_object_get(rolling, "why")));
    }
}

void md__inspect_print(const json_t *report)
{
    const char *backend = json_string_value(json_object_get(report, "backend"));

    printf("%s: %lld parameters, on %s\n", json_string_value(json_object_get(report, "model")),
           (long long)json_integer_value(json_object_get(report, "parameters")), backend);
    print_ports("inputs", json_object_get(report, "inputs"));
    print_ports("outputs (at the sizes below)", json_object_get(report, "outputs"));
    print_counts("symbols, and their sizes here (--symbol NAME=SIZE)",
                 json_object_get(report, "symbols"));
    print_counts("operators, after passes", json_object_get(report, "operators"));
    if (json_is_null(json_object_get(report, "plan"))) {
        printf("no plan at these sizes: %s\n",
               json_string_value(json_object_get(report, "no_plan")));
        return;
    }
    print_regions(json_object_get(report, "regions"));
    print_counts("plan", json_object_get(report, "plan"));
    print_places(backend, json_object_get(report, "places"));
    print_device(json_object_get(report, "device"), json_object_get(report, "places"));
    print_rolling(json_object_get(report, "rolling"));
}
