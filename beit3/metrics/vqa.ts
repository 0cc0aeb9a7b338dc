/** Soft VQA accuracy: the label value of each row's best answer, averaged over rows; both [rows, answers]. */
export function vqaScore(logits: ArrayLike<number>, labels: ArrayLike<number>, answers: number): number {
  const rows = logits.length / answers;
  let total = 0;
  for (let r = 0; r < rows; r++) {
    let best = r * answers;
    for (let i = best + 1; i < (r + 1) * answers; i++) if (logits[i] > logits[best]) best = i;
    total += labels[best];
  }
  return total / Math.max(1, rows);
}
