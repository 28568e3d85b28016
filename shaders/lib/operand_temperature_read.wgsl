@group(0) @binding(5) var<storage, read> temperature: array<f32>;
