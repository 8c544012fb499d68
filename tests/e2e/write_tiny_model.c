/* tiny-model PATH [SEED]: the synthetic model of docs/spec/kvstore.md, section 16, for suites that start a server
 * hundreds of times. */
#include "support/tiny_model.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: tiny-model PATH [SEED]\n");
        return 2;
    }
    tiny_model_write(argv[1], argc > 2 ? strtoull(argv[2], NULL, 10) : 1);
    return 0;
}
