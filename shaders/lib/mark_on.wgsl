@group(0) @binding(9) var<storage, read_write> scratch: array<atomic<u32>>;

// The expert's bit of the token, and where in the expert's list it is: in place of its key, which has served. Bits and sums
// do not depend on the order.
fn mark(expert: u32, slot: u32, token: u32) {
    atomicStore(&scratch[params.keys_offset + expert * params.keys_stride + token], slot);
    atomicOr(&scratch[params.marks_offset + token * params.marks_stride + expert / 32u], 1u << (expert % 32u));
    atomicAdd(&scratch[params.sums_offset + token / params.tile], 1u);
}
