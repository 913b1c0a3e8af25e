/* The folds under base/reduce.h by instruction set; base/vectors.c picks. */
#ifndef MD_BASE_ISA_REDUCE_H
#define MD_BASE_ISA_REDUCE_H

#include "base/reduce.h"

/* The sums of a run. */
enum md__fold_sum {
    MD__FOLD_RESULT,            /* of values, of squares; a count; a position; a value */
    MD__FOLD_MISSING,           /* how many values are */
    MD__FOLD_MEAN,              /* squares: of the run, known before */
    MD__FOLD_X = MD__FOLD_MEAN, /* line: of positions, of their squares, of products with values */
    MD__FOLD_XX,
    MD__FOLD_XY
};

enum md__fold {
    MD__FOLD_VALUES,
    MD__FOLD_SQUARES, /* of what lies between a value and the mean */
    MD__FOLD_LAST,
    MD__FOLD_LINE,
    MD__FOLD_FINITE,
    MD__FOLD_FIRST,
    MD__FOLD_LARGEST,
    MD__FOLD_SMALLEST,
    MD__FOLD_COUNT
};

/* Values join the sums or the extremes of their runs. */
typedef void (*md__fold_body)(struct md_reducing *reducing, const struct md_runs *values);

/* The fastest that this processor can run. */
const md__fold_body *md__folds(void);

extern const md__fold_body md__folds_portable[MD__FOLD_COUNT];
extern const md__fold_body md__folds_avx2[MD__FOLD_COUNT];
extern const md__fold_body md__folds_avx512[MD__FOLD_COUNT];

#endif
