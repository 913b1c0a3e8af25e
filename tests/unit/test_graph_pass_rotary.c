/* Written-out rotary embeddings become RotaryEmbedding; what only resembles them does not. */
#include "programs.h"
#include "unit.h"

#define TABLES "c = Cos(Concat(w, w, axis=-1)); s = Sin(Concat(w, w, axis=-1)); "
#define HALVES(x, a, b)                                                                            \
    a " = Slice(" x ", [0], [4], [-1]); " b " = Slice(" x ", [4], [900], [3]); "
#define TURN(x, a, b) "Add(Mul(" x ", c), Mul(Concat(Neg(" b "), " a ", axis=-1), s))"
#define HEADS(x, n)   "Transpose(Reshape(" x ", [0,0," n ",8]), perm=[0,2,1,3])"

static const struct program_case cases[] = {
    {"halves by Split",
     "x[1,3,6,8]; w{6,4}; " TABLES "a b = Split(x, axis=-1); y = " TURN("x", "a", "b") "; -> y",
     "RotaryEmbedding 1 Concat 0 Neg 0 Mul 0 Add 0 Split 0"},
    {"halves by Slice, the other way round",
     "x[1,3,6,8]; w{1,6,4}; " TABLES HALVES(
         "x", "a", "b") "y = Add(Mul(s, Concat(Neg(b), a, axis=3)), Mul(c, x)); -> y",
     "RotaryEmbedding 1 Concat 0 Neg 0 Mul 0 Add 0 Slice 0"},
    {"heads that a transpose brought forward",
     "x[1,n,24]; w[n,4]; " TABLES "h = " HEADS("x", "3") "; " HALVES("h", "a", "b") "r = " TURN(
         "h", "a", "b") "; y = Reshape(Transpose(r, perm=[0,2,1,3]), [0,0,24]); -> y",
     "RotaryEmbedding 1 Transpose 0 Neg 0"},
    {"tables that are computed",
     "x[1,3,n,8]; w[1,n,4]; t = Concat(w, w, axis=-1); c = Unsqueeze(Mul(Cos(t), 1.5), [1]); "
     "s = Unsqueeze(Sin(t), [1]); a b = Split(x, axis=-1); y = " TURN("x", "a", "b") "; -> y",
     "RotaryEmbedding 1 Neg 0"},
    {"inside attention",
     "q[1,n,32]; k[1,n,16]; v[1,n,16]; w[n,4]; " TABLES "h = " HEADS("q", "4") "; i = " HEADS(
         "k", "2") "; j = " HEADS("v", "2") "; " HALVES("h", "a", "b")
         HALVES("i", "d", "e") "o = " TURN("h", "a", "b") "; p = " TURN(
             "i", "d",
             "e") "; "
                  "f = Reshape(Expand(Unsqueeze(p, [2]), [1,1,2,1,1]), [1,4,-1,8]); "
                  "g = Reshape(Expand(Unsqueeze(j, [2]), [1,1,2,1,1]), [1,4,-1,8]); "
                  "z = MatMul(Softmax(Div(MatMul(o, Transpose(f, perm=[0,1,3,2])), 2.8)), g); "
                  "y = Reshape(Transpose(z, perm=[0,2,1,3]), [0,0,32]); -> y",
     "Attention 1 RotaryEmbedding 2 Transpose 0 Expand 0 MatMul 0"},
};

static const struct program_case stay[] = {
    {"the other half negative",
     "x[1,3,6,8]; w{6,4}; " TABLES "a b = Split(x, axis=-1); "
     "y = Add(Mul(x, c), Mul(Concat(b, Neg(a), axis=-1), s)); -> y",
     "RotaryEmbedding 0"},
    {"halves that stay in place",
     "x[1,3,6,8]; w{6,4}; " TABLES "a b = Split(x, axis=-1); y = " TURN("x", "b", "a") "; -> y",
     "RotaryEmbedding 0"},
    {"tables that do not repeat",
     "x[1,3,6,8]; c{6,8}; s{6,8}; a b = Split(x, axis=-1); y = " TURN("x", "a", "b") "; -> y",
     "RotaryEmbedding 0"},
    {"tables of each head",
     "x[1,3,6,8]; w{3,6,4}; " TABLES "a b = Split(x, axis=-1); y = " TURN("x", "a", "b") "; -> y",
     "RotaryEmbedding 0"},
    {"one place for all steps",
     "x[1,3,6,8]; w{1,4}; " TABLES "a b = Split(x, axis=-1); y = " TURN("x", "a", "b") "; -> y",
     "RotaryEmbedding 0"},
    {"halves of something else",
     "x[1,3,6,8]; z[1,3,6,8]; w{6,4}; " TABLES
     "a b = Split(z, axis=-1); y = " TURN("x", "a", "b") "; -> y",
     "RotaryEmbedding 0"},
};

static void written_out_rotations_are_found(void **state)
{
    program_check_all(cases, sizeof cases / sizeof *cases, NULL, 2e-5);
}

static void what_resembles_them_stays(void **state)
{
    program_check_all(stay, sizeof stay / sizeof *stay, NULL, 2e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_out_rotations_are_found),
        cmocka_unit_test(what_resembles_them_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
