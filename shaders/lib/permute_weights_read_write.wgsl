// In a buffer that the same dispatch writes to: WebGPU wants every binding of it read-write.
@group(0) @binding(4) var<storage, read_write> weights: array<f32>;

fn weight_of(token: u32, choice: u32) -> f32 {
    return weights[params.weights_offset + token * params.weights_stride + choice];
}
