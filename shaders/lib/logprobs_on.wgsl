// [rows, 1 + draws]: a row's log-sum-exp, then the log-probability of each of its choices.
@group(0) @binding(3) var<storage, read_write> logprobs: array<f32>;

fn put_logprob(row: u32, column: u32, value: f32) {
    logprobs[params.lse_offset + row * params.lse_stride + column] = value;
}
