fn put_log_sum_exp(row: Row, total: Partial, normal: Normal) {
}
