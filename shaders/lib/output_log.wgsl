fn output(row: Row, total: Partial, normal: Normal, x: vec4<f32>, first_column: u32) -> vec4<f32> {
    let kind = special(total);
    let none = vec4(bitcast<f32>(params.excluded));
    if (row.hard) {
        return select(one_hot(total, first_column, 0.0, none.x), vec4(kind.fill), kind.is);
    }
    let y = select(log_probability(normal, x), none, is_excluded(x));
    return select(y, vec4(kind.fill), kind.is);
}
