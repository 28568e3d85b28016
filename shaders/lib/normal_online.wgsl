// The rival's: y = exp(x - maximum) / sum with the built-in exp and log.
struct Normal {
    maximum: f32,
    reciprocal: f32,
    log_sum: f32,
}

fn normal_of(total: Partial) -> Normal {
    return Normal(total.anchor, 1.0 / total.high, log(total.high));
}

fn probability(normal: Normal, x: vec4<f32>) -> vec4<f32> {
    return exp(x - normal.maximum) * normal.reciprocal;
}

fn log_probability(normal: Normal, x: vec4<f32>) -> vec4<f32> {
    return (x - normal.maximum) - normal.log_sum;
}

fn log_sum_exp(normal: Normal) -> f32 {
    return normal.maximum + normal.log_sum;
}
