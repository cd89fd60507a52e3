/* libFuzzer's entry to the wire fuzzer (make fuzz). tests/unit/test_wire_fuzz.c runs the same for two seconds. */
#include "tests/fuzz/wire_one.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    wire_one(data, n);
    return 0;
}
