fn load_one(base: u32, column: u32) -> f32 {
    return half_value(u32(src[base + column / 4u] >> (column % 4u * 16u)));
}
