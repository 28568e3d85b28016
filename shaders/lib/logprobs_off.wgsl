fn put_logprob(row: u32, column: u32, value: f32) {
}
