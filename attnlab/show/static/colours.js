// Colours of maps: from a value to its colour, and the ink that can be read on it.

// Luminance as WCAG has it, of a colour written #rrggbb.
function luminance(hex) {
  const [r, g, b] = [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16) / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

export const inkOn = (hex) => (luminance(hex) < 0.179 ? "#fff" : "#000"); // whichever has more contrast

export function colourOf(value, { low, high }, colours) {
  const part = (value - low) / (high - low || 1);
  return colours[Math.max(0, Math.min(colours.length - 1, Math.round(part * (colours.length - 1))))];
}

export const withSign = (value, digits, signed) => `${signed && value > 0 ? "+" : ""}${value.toFixed(digits)}`.replace("-", "−");
