fn put_log_sum_exp(draw: Draw, best: Partial, total: Partial) {
}

fn put_log_probability(draw: Draw, n: u32, has_distribution: bool, best: Partial, total: Partial) {
}
