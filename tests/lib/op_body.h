/* The body of a fused operator as what a case is compared with. */
#ifndef MD_TESTS_OP_BODY_H
#define MD_TESTS_OP_BODY_H

#include "op_case.h"

/* Fills the outputs with what the operator's body gives on the reference kernels. */
void op_run_body(struct op_run *run);

#endif
