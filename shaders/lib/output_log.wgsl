// Of a row that has a distribution.
fn output(row: Row, total: Partial, normal: Normal, x: vec4<f32>, first_column: u32) -> vec4<f32> {
    let none = vec4(bitcast<f32>(params.excluded));
    if (row.hard) {
        return one_hot(total, first_column, 0.0, none.x);
    }
    return select(log_probability(normal, x), none, is_excluded(x));
}
