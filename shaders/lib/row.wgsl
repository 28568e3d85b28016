// What is read once per row. Options that are off leave constants here, which cost nothing.
struct Row {
    index: u32,
    limit: u32,         // columns from here on are excluded
    src: u32,
    mask: u32,
    slope: f32,
    position: i32,      // the key that the row's query stands at
    inverse_temperature: f32,
    hard: bool,         // temperature 0
    stream: Stream,
    bits: u32,          // where its allowed columns begin
}

fn row_of(index: u32) -> Row {
    let position = position_of(index);
    let temperature = temperature_of(index);
    return Row(
        index,
        limit_of(index, position),
        params.src_offset + index * params.src_stride,
        mask_of(index),
        slope_of(index),
        position,
        1.0 / temperature,  // unfenced: of probabilities, which have an error budget
        is_hard(temperature),
        stream_of(index),
        bits_of(index),
    );
}

fn excluded4() -> vec4<f32> {
    return vec4(bitcast<f32>(params.excluded));
}

fn is_excluded(x: vec4<f32>) -> vec4<bool> {
    return bitcast<vec4<u32>>(x) == vec4(params.excluded);
}

// Four effective logits: what the exponential is taken of, after all options in use.
fn logits(row: Row, quad: u32) -> vec4<f32> {
    let capped = capped(scaled(load_quad(row.src, quad)));
    let masked = masked(row, quad, biased(row, quad, capped));
    let tempered = tempered(row, perturbed(row, quad, masked));
    return limited(row, quad, allowed(row, quad, tempered));
}

fn quads_in(columns: u32) -> u32 {
    return (columns + 3u) / 4u;
}

fn logits_or_nothing(row: Row, quad: u32, quads: u32) -> vec4<f32> {
    if (quad < quads) {
        return logits(row, quad);
    }
    return excluded4();
}
