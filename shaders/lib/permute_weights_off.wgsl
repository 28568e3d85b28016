fn weight_of(token: u32, choice: u32) -> f32 {
    return 1.0;
}
