@group(0) @binding(1) var<storage, read> choices: array<u32>;

fn choice_of(row: u32) -> u32 {
    return choices[params.src_offset + row * params.src_stride];
}
