fn output(row: Row, total: Partial, normal: Normal, x: vec4<f32>, first_column: u32) -> vec4<f32> {
    let kind = special(total);
    if (row.hard) {
        return select(one_hot(total, first_column, 1.0, 0.0), vec4(kind.fill), kind.is);
    }
    return select(probability(normal, x), vec4(kind.fill), kind.is);
}
