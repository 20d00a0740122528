// Words that differ between two texts, and how sure a tally is.
export function differing(text, other) {
  const a = text.split(/(\s+)/), b = other.split(/(\s+)/).filter((w) => w.trim());
  const words = a.map((w, i) => i).filter((i) => a[i].trim());
  const n = words.length, m = b.length;
  if (n * m > 400000) return a.map((w) => [w, false]);
  const best = Array.from({ length: n + 1 }, () => new Uint16Array(m + 1));
  for (let i = n - 1; i >= 0; i -= 1) {
    for (let j = m - 1; j >= 0; j -= 1) best[i][j] = a[words[i]] === b[j] ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
  }
  const same = new Set();
  for (let i = 0, j = 0; i < n && j < m;) {
    if (a[words[i]] === b[j]) { same.add(words[i]); i += 1; j += 1; } else if (best[i + 1][j] >= best[i][j + 1]) i += 1; else j += 1;
  }
  return a.map((w, i) => [w, w.trim() !== "" && !same.has(i)]);
}

// Wilson's interval of a share at 95 %.
export function wilson(hits, n) {
  if (!n) return [null, null];
  const z = 1.959964, p = hits / n, d = 1 + (z * z) / n;
  const middle = (p + (z * z) / (2 * n)) / d, half = (z / d) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

export function csv(rows) {
  return rows.map((row) => row.map((cell) => {
    const text = String(cell), safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }).join(",")).join("\r\n") + "\r\n";
}

export function shuffled(list) {
  const found = [...list];
  for (let i = found.length - 1; i > 0; i -= 1) {
    const j = Math.floor(Math.random() * (i + 1));
    [found[i], found[j]] = [found[j], found[i]];
  }
  return found;
}
