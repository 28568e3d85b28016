// Rows that have no distribution, or a degenerate one: docs/semantics.md has the table.
struct Special {
    is: bool,
    fill: f32,          // what each of its columns becomes
    lse: f32,
}

fn special(total: Partial) -> Special {
    if (total.exponent == NOT_A_NUMBER) {
        return Special(true, bitcast<f32>(params.nan), bitcast<f32>(params.nan));
    }
    if (total.exponent == INFINITE) {
        return Special(true, bitcast<f32>(params.nan), bitcast<f32>(params.infinite));
    }
    if (total.exponent == NOTHING) {
        return Special(true, bitcast<f32>(params.empty), bitcast<f32>(params.excluded));
    }
    return Special(false, 0.0, 0.0);
}

// Temperature 0: everything on the arg max. `one` and `none` are 1 and 0, or their logarithms.
fn one_hot(total: Partial, first_column: u32, one: f32, none: f32) -> vec4<f32> {
    let column = vec4(first_column) + vec4(0u, 1u, 2u, 3u);
    return select(vec4(none), vec4(one), column == vec4(u32(-total.exponent)));
}
