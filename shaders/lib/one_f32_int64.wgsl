fn load_one(base: u32, column: u32) -> f32 {
    return bitcast<f32>(u32(src[base + column / 4u][column % 4u / 2u] >> (column % 2u * 32u)));
}
