// The upper half of a product, by SHADER_INT64.
fn upper_product(a: u32, b: u32) -> u32 {
    return u32((u64(a) * u64(b)) >> 32u);
}
