@group(0) @binding(6) var<storage, read> slopes: array<f32>;
