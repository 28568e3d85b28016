fn load_one(base: u32, column: u32) -> f32 {
    return half_value(src[base + column / 4u][column % 4u / 2u] >> (column % 2u * 16u));
}
