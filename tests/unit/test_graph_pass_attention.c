/* Written-out attention becomes Attention, with nothing moved; what only resembles it does not. */
#include "programs.h"
#include "unit.h"

#define TURNED(k)  "Transpose(" k ", perm=[0,1,3,2])"
#define INPUTS     "q[2,3,n,8]; k[2,3,m,8]; v[2,3,m,5]; "
#define SCORES     "s = MatMul(q, " TURNED("k") "); "
#define OUT        "y = MatMul(Softmax(t), v); -> y"
#define HEADS(x)   "Transpose(Reshape(" x ", [0,0,3,4]), perm=[0,2,1,3])"
#define BACK(x)    "Reshape(Transpose(" x ", perm=[0,2,1,3]), [0,0,12])"
#define HIDING     "-1000000000000000019884624838656"
#define NO_PRODUCT "Attention 1 MatMul 0 Softmax 0 Transpose 0 "

static const struct program_case cases[] = {
    {"scores divided", INPUTS SCORES "t = Div(s, 2.8); " OUT, NO_PRODUCT "Div 0"},
    {"no scale", INPUTS SCORES "t = Mul(s, 1); " OUT, NO_PRODUCT},
    {"scale on both sides", INPUTS "t = MatMul(Mul(q, 0.6), Mul(" TURNED("k") ", 0.5)); " OUT,
     NO_PRODUCT "Mul 0"},
    {"scale on the keys before they turn", INPUTS "t = MatMul(q, " TURNED("Mul(k, 0.3)") "); " OUT,
     NO_PRODUCT "Mul 0"},
    {"three axes",
     "q[6,n,8]; k[6,m,8]; v[6,m,5]; t = Mul(MatMul(q, Transpose(k, perm=[0,2,1])), 0.3); " OUT,
     NO_PRODUCT},
    {"heads of three products",
     "x[b,n,10]; p{10,12}; r{10,12}; w{10,12}; i{12}; o{12,10}; "
     "q = " HEADS("Add(MatMul(x, p), i)") "; k = Reshape(MatMul(x, r), [0,0,3,4]); "
                                          "v = " HEADS(
                                              "MatMul(x, w)") "; "
                                                              "t = Div(MatMul(q, Transpose(k, "
                                                              "perm=[0,2,3,1])), 2); z = "
                                                              "MatMul(Softmax(t), v); "
                                                              "y = MatMul(" BACK("z") ", o); -> y",
     "Attention 1 Softmax 0 Transpose 0 MatMul 3 moondial.Linear 1"},
    {"heads of one product by Split",
     "x[b,7,10]; w{10,36}; i{36}; h = Reshape(Add(MatMul(x, w), i), [-1,7,3,3,4]); "
     "q k v = Split(Transpose(h, perm=[2,0,3,1,4]), axis=0); "
     "t = MatMul(Mul(Squeeze(q, [0]), 0.7), Mul(Transpose(Squeeze(k, [0]), perm=[0,1,3,2]), 0.7)); "
     "z = MatMul(Softmax(t), Squeeze(v, [0])); "
     "y = Reshape(Transpose(z, perm=[0,2,1,3]), [-1,7,12]); -> y",
     "Attention 1 Softmax 0 Transpose 0 Split 0 Mul 0 moondial.Linear 3"},
    {"heads of one product by Gather",
     "x[2,7,10]; w{10,36}; h = Transpose(Reshape(MatMul(x, w), [2,7,3,3,4]), perm=[2,0,3,1,4]); "
     "t = MatMul(Squeeze(Gather(h, [0]), [0]), " TURNED(
         "Squeeze(Gather(h, [1]), [0])") "); "
                                         "z = MatMul(Softmax(t), Squeeze(Gather(h, [-1]), [0])); y "
                                         "= Transpose(z, perm=[0,2,1,3]); -> y",
     "Attention 1 Softmax 0 Transpose 0 Gather 0 MatMul 3"},
    {"heads that alternate in one product",
     "x[2,7,10]; w{10,36}; i{36}; h = Reshape(Add(MatMul(x, w), i), [2,7,3,3,4]); "
     "a c d = Split(h, axis=3); q = Transpose(Squeeze(a, [3]), perm=[0,2,1,3]); "
     "k = Transpose(Squeeze(c, [3]), perm=[0,2,3,1]); v = Transpose(Squeeze(d, [3]), "
     "perm=[0,2,1,3]); y = " BACK("MatMul(Softmax(MatMul(q, k)), v)") "; -> y",
     "Attention 1 Softmax 0 Transpose 0 Split 0 moondial.Linear 3"},
    {"slices of an input",
     "x[2,n,36]; q = " HEADS("Slice(x, [0], [12], [2])") "; k = " HEADS("Slice(x, [12], [24], "
                                                                        "[-1])") "; v = " HEADS(
         "Slice(x, [24], [900], [2])") "; "
                                       "y = " BACK("MatMul(Softmax(MatMul(q, " TURNED(
                                           "k") ")), v)") "; -> y",
     "Attention 1 Softmax 0 Transpose 0 Slice 3"},
    {"heads of a batch that comes second",
     "x[n,2,12]; w{12,36}; i{36}; a c d = Split(Add(MatMul(x, w), i), axis=2); "
     "q = Transpose(Reshape(a, [-1,6,4]), perm=[1,0,2]); k = Transpose(Reshape(c, [-1,6,4]), "
     "perm=[1,2,0]); v = Transpose(Reshape(d, [-1,6,4]), perm=[1,0,2]); "
     "z = MatMul(Softmax(Mul(MatMul(q, k), 0.5)), v); "
     "y = Reshape(Transpose(z, perm=[1,0,2]), [-1,2,12]); -> y",
     "Attention 1 Softmax 0"},
    {"heads of a batch that comes second, of products of their own",
     "x[n,2,10]; w{10,12}; i{10,12}; o{10,12}; q = Transpose(Reshape(MatMul(x, w), [-1,6,4]), "
     "perm=[1,0,2]); k = Transpose(Reshape(MatMul(x, i), [-1,6,4]), perm=[1,2,0]); "
     "v = Transpose(Reshape(MatMul(x, o), [-1,6,4]), perm=[1,0,2]); "
     "z = MatMul(Softmax(Mul(MatMul(q, k), 0.5)), v); "
     "y = Reshape(Transpose(z, perm=[1,0,2]), [-1,2,12]); -> y",
     "Attention 1 Softmax 0 Transpose 0"},
    {"keys that groups of queries share",
     "q[2,n,24]; k[2,m,8]; v[2,m,8]; h = Transpose(Reshape(k, [0,0,2,4]), perm=[0,2,1,3]); "
     "i = Transpose(Reshape(v, [0,0,2,4]), perm=[0,2,1,3]); "
     "e = Reshape(Expand(Unsqueeze(h, [2]), [1,1,3,1,1]), [2,6,-1,4]); "
     "f = Reshape(Expand(Unsqueeze(i, [2]), [1,1,3,1,1]), [2,6,-1,4]); "
     "t = MatMul(Transpose(Reshape(q, [0,0,6,4]), perm=[0,2,1,3]), " TURNED(
         "e") "); "
              "y = MatMul(Softmax(t), f); -> y",
     "Attention 1 Softmax 0 Expand 0 Transpose 1"},
    {"keys behind others",
     "q[2,3,n,8]; k[2,3,m,8]; v[2,3,m,8]; o[2,3,n,8]; u[2,3,n,8]; j = Concat(k, o, axis=2); "
     "i = Concat(v, u, axis=2); y = MatMul(Softmax(MatMul(q, " TURNED("j") ")), i); -> y j i",
     "Attention 1 Softmax 0 Concat 2 Transpose 0"},
    {"a mask of keys", INPUTS "a[2,1,1,m]; " SCORES "t = Add(Div(s, 2), a); " OUT,
     NO_PRODUCT "Add 0"},
    {"masks of queries and of keys",
     INPUTS "a[2,1,1,m]; c[n,m]; " SCORES "t = Add(a, Add(c, Mul(0.5, s))); " OUT,
     NO_PRODUCT "Add 1"},
    {"a constant mask",
     "q[2,3,6,8]; k[2,3,6,8]; v[2,3,6,5]; a{3,6,6}; " SCORES "t = Add(s, a); " OUT,
     NO_PRODUCT "Add 0"},
    {"a constant mask through a fifth axis",
     "q[2,3,6,8]; k[2,3,6,8]; v[2,3,6,5]; a{3,6,6}; c{1,2,1,6,6}; " SCORES
     "t = Reshape(Add(Reshape(Add(s, a), [1,2,3,6,6]), c), [2,3,6,6]); " OUT,
     NO_PRODUCT "Add 0"},
    {"a condition", INPUTS "a[n,m]; " SCORES "t = Where(Greater(a, 0), s, " HIDING "); " OUT,
     NO_PRODUCT "Where 1"},
    {"a condition that hides",
     INPUTS "a[n,m]; " SCORES "t = Where(Greater(a, 2), " HIDING ", s); " OUT,
     NO_PRODUCT "Where 1"},
    {"what is not a number counts as 0",
     INPUTS "a[n,m]; " SCORES "p = Softmax(Add(s, a)); r = Where(IsNaN(p), 0, p); "
            "y = MatMul(r, v); -> y",
     NO_PRODUCT "IsNaN 0 Where 0"},
};

static const struct program_case stay[] = {
    {"over another axis", INPUTS SCORES "y = MatMul(Softmax(s, axis=2), v); -> y", "Attention 0"},
    {"a scale behind the mask", INPUTS "a[n,m]; " SCORES "t = Mul(Add(s, a), 2); " OUT,
     "Attention 0"},
    {"a negative scale", INPUTS SCORES "t = Mul(s, -0.5); " OUT, "Attention 0"},
    {"a scale of each query", INPUTS "a[n,1]; " SCORES "t = Mul(s, a); " OUT, "Attention 0"},
    {"one number for all keys of a query", INPUTS "a[n,1]; " SCORES "t = Add(s, a); " OUT,
     "Attention 0"},
    {"a mask that makes more of it",
     "q[1,3,n,8]; k[1,3,m,8]; v[1,3,m,5]; a[2,1,n,m]; " SCORES "t = Add(s, a); " OUT,
     "Attention 0"},
    {"a condition that hides little",
     INPUTS "a[n,m]; " SCORES "t = Where(Greater(a, 0), s, -5); " OUT, "Attention 0"},
    {"a condition that may hide all",
     INPUTS "a[n,m]; " SCORES "t = Where(Greater(a, 0), s, -10000); " OUT, "Attention 0"},
    {"scores that are read", INPUTS SCORES "t = Mul(s, 2); y = MatMul(Softmax(t), v); -> y t",
     "Attention 0"},
    {"shares that are read", INPUTS SCORES "p = Softmax(s); y = MatMul(p, v); -> y p",
     "Attention 0"},
    {"heads that meet in the product",
     "q[2,3,n,8]; k[1,3,m,8]; v[2,3,m,5]; " SCORES "y = MatMul(Softmax(s), v); -> y",
     "Attention 0"},
};

/* One product of which somebody else reads a part is not taken apart. */
static const struct program_case shared[] = {
    {"keys that are an output",
     "x[2,7,10]; w{10,36}; q k v = Split(MatMul(x, w), axis=2); h = " HEADS(
         "k") "; "
              "y = MatMul(Softmax(MatMul(" HEADS("q") ", " TURNED("h") ")), " HEADS(
                  "v") "); -> y h",
     "Attention 1 MatMul 1"},
};

static void written_out_attention_is_found(void **state)
{
    program_check_all(cases, sizeof cases / sizeof *cases, NULL, 2e-5);
}

static void what_resembles_it_stays(void **state)
{
    program_check_all(stay, sizeof stay / sizeof *stay, NULL, 2e-5);
}

static void shared_products_stay_whole(void **state)
{
    program_check_all(shared, sizeof shared / sizeof *shared, NULL, 2e-5);
}

static void without_the_pass_all_is_as_before(void **state)
{
    struct program_case off[sizeof cases / sizeof *cases];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        off[i] = (struct program_case){cases[i].what, cases[i].program, "Attention 0 Softmax 1"};
    program_check_all(off, sizeof cases / sizeof *cases, "attention", 2e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_out_attention_is_found),
        cmocka_unit_test(what_resembles_it_stays),
        cmocka_unit_test(shared_products_stay_whole),
        cmocka_unit_test(without_the_pass_all_is_as_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
