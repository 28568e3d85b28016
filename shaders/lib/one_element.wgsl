fn load_one(base: u32, column: u32) -> f32 {
    return element(base + column);
}
