/* What is joined is made where it will lie; what is parted is read where it lies. */
#include "programs.h"
#include "unit.h"

#define X "x[2,8,n,6]; w{16,8,3,3}; v{16,16,1,1}; u{16,40,1,1}; "
#define A "a = Relu(Conv(x, w, pads=[1,1,1,1])); "
#define B "b = MaxPool(a, kernel_shape=[3,3], pads=[1,1,1,1]); "

static const struct program_case cases[] = {
    {"of a convolution and a pool", X A B "c{4,32,1,1}; y = Conv(Concat(a, b, axis=1), c); -> y",
     "*Concat 0"},
    {"of all kinds",
     X A "d = Conv(a, v); s{16}; t{16}; e = Relu(InstanceNormalization(d, s, t)); "
         "f = AveragePool(a, kernel_shape=[1,1]); g = Add(a, d); c{4,80,1,1}; "
         "y = Conv(Concat(d, e, f, g, a, axis=1), c); -> y",
     "*Concat 0"},
    {"of an upsampled image",
     X A "m = MaxPool(a, kernel_shape=[1,2], strides=[1,2]); c{4,32,3,3}; "
         "r = Resize(m, _, [1.0,1.0,1.0,2.0], mode='linear'); "
         "y = Conv(Concat(r, a, axis=1), c, pads=[1,1,1,1]); -> y",
     "*Concat 0"},
    {"of a transposed and a depthwise one",
     X A "h{16,16,1,2}; k{16,1,3,3}; m = MaxPool(a, kernel_shape=[1,2], strides=[1,2]); "
         "t = ConvTranspose(m, h, strides=[1,2]); d = Conv(a, k, pads=[1,1,1,1], group=16); "
         "c{4,32,3,3}; y = Conv(Concat(t, d, axis=1), c, pads=[1,1,1,1]); -> y",
     "*Concat 0"},
    {"a dense block",
     X A "s{16}; t{16}; m{16}; o{16}; s2{32}; t2{32}; m2{32}; o2{32}; s3{48}; t3{48}; m3{48}; "
         "o3{48}; c1{16,32,3,3}; c2{16,48,3,3}; p = Relu(Conv(a, v)); "
         "q = Concat(a, p, axis=1); d = Conv(q, c1, pads=[1,1,1,1]); "
         "r = Concat(a, p, d, axis=1); e = Conv(r, c2, pads=[1,1,1,1]); "
         "f = Concat(a, p, d, e, axis=1); c{4,64,1,1}; y = Conv(f, c); -> y",
     "*Concat 0"},
    {"a split of which one half goes on",
     X "z = Swish(Conv(x, w, pads=[1,1,1,1])); a b = Split(z, axis=1); k{8,8,3,3}; "
       "d = Relu(Conv(b, k, pads=[1,1,1,1])); e = Add(b, d); c{4,32,1,1}; "
       "y = Conv(Concat(a, b, d, e, axis=1), c); -> y",
     "*Concat 0 *Split 0"},
    {"along rows of one image",
     "x[1,n,6]; w{6,10}; v{6,10}; a = Relu(MatMul(x, w)); b = MatMul(x, v); "
     "y = Neg(Concat(a, b, axis=1)); -> y",
     "*Concat 0"},
    {"all outputs of a split",
     "x[2,12,n]; a b = Split(Neg(x), axis=1); "
     "y = Relu(Concat(a, b, axis=1)); -> y",
     "*Concat 0 *Split 0"},
    {"of concats",
     X A B "c{4,64,1,1}; p = Concat(a, b, axis=1); d = Conv(a, v); e = Conv(b, v); "
           "q = Concat(d, e, axis=1); y = Conv(Concat(p, q, axis=1), c); -> y",
     "*Concat 0"},
};

static const struct program_case stay[] = {
    {"inputs", "x[3,8]; z[3,8]; a = Add(x, z); y = Neg(Concat(a, x, z, axis=1)); -> y",
     "*Concat 1"},
    {"a value twice", X A "c{4,32,1,1}; y = Conv(Concat(a, a, axis=1), c); -> y", "*Concat 1"},
    {"an output",
     "x[3,8]; z[3,8]; a = Add(x, z); b = Mul(x, z); "
     "y = Neg(Concat(a, b, axis=1)); -> y b",
     "*Concat 1"},
    {"read by what takes no pitch",
     X A B "c{4,32,1,1}; s = Softmax(a, axis=1); y = Conv(Concat(a, b, axis=1), c); -> y s",
     "*Concat 1"},
    {"in two places",
     X A B "c{4,48,1,1}; d = Conv(b, v); e = Conv(a, v); p = Conv(Concat(a, d, e, axis=1), c); "
           "q = Conv(Concat(e, b, a, axis=1), c); y = Add(p, q); -> y",
     "*Concat 1"},
    {"lines of few elements",
     "x[2,8,n,6]; w{4,8,1,1}; v{4,8,1,1}; c{4,8,1,1}; a = Conv(x, w); b = Conv(x, v); "
     "y = Conv(Concat(a, b, axis=1), c); -> y",
     "*Concat 1"},
    {"a split whose part is an output",
     "x[3,16]; z[3,16]; a b = Split(Add(x, z), axis=1); y = Mul(b, [2.0]); -> a y", "*Split 1"},
};

static void test_slices(void **state)
{
    program_check_all(cases, sizeof cases / sizeof *cases, NULL, 2e-5);
}

static void test_copies(void **state)
{
    program_check_all(stay, sizeof stay / sizeof *stay, NULL, 2e-5);
}

static void test_it_can_be_off(void **state)
{
    program_check(X A B "c{4,32,1,1}; y = Conv(Concat(a, b, axis=1), c); -> y", "*Concat 1",
                  "concat", 2e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_it_can_be_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
