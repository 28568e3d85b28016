@group(0) @binding(2) var<storage, read> experts: array<u32>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;

fn expert_at(token: u32, choice: u32) -> u32 {
    return experts[params.experts_offset + token * params.experts_stride + choice];
}

fn weight_at(token: u32, choice: u32) -> f32 {
    return weights[params.weights_offset + token * params.weights_stride + choice];
}
