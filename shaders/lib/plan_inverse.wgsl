@group(0) @binding(6) var<storage, read_write> inverse: array<u32>;

fn inverse_index(token: u32, choice: u32) -> u32 {
    return params.inverse_offset + token * params.inverse_stride + choice;
}
