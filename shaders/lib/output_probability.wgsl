// Of a row that has a distribution.
fn output(row: Row, total: Partial, normal: Normal, x: vec4<f32>, first_column: u32) -> vec4<f32> {
    if (row.hard) {
        return one_hot(total, first_column, 1.0, 0.0);
    }
    return probability(normal, x);
}
