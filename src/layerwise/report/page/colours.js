// Shapes, dashes and ramps. Categories always differ by shape too; ramps are even steps of lightness.
const SHAPES = [
  "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
  "M-4-4h8v8h-8z",
  "M0-5.4 5.2 4h-10.4z",
  "M0-5.6 5.6 0 0 5.6-5.6 0z",
  "M0 5.4 5.2-4h-10.4z",
  "M-1.8-5h3.6v3.2h3.2v3.6h-3.2v3.2h-3.6v-3.2h-3.2v-3.6h3.2z",
  "M-5-1.9 0-5.4 5-1.9 3.1 4.2h-6.2z",
  "M0-6 1.7-1.9 6-1.7 2.7 1.2 3.8 5.4 0 3 -3.8 5.4-2.7 1.2-6-1.7-1.7-1.9z",
];
const DASHES = ["", "7 4", "2 4", "9 3 2 3", "4 3", "12 4", "1 3", "6 2 1 2 1 2"];

const toneOf = (index) => `k${index % 10}`;
const shapeOf = (index) => SHAPES[index % SHAPES.length];

function glyph(index, full, size = 1) {
  return svg("path", { class: `dot${full ? " full" : ""}`, d: shapeOf(index), transform: size === 1 ? null : `scale(${size})` });
}

function isDark() {
  const forced = document.documentElement.dataset.theme;
  return forced ? forced === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

// OKLCH to sRGB: equal steps of `lightness` look equal.
function oklch(lightness, chroma, hue) {
  const a = chroma * Math.cos((hue * Math.PI) / 180);
  const b = chroma * Math.sin((hue * Math.PI) / 180);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((v) => {
    const light = Math.min(1, Math.max(0, v));
    return Math.round(255 * (light <= 0.0031308 ? 12.92 * light : 1.055 * light ** (1 / 2.4) - 0.055));
  });
}

// From paper to ink: 0 is close to the background, 1 stands out, in both themes.
function ramp(share) {
  const t = Math.min(1, Math.max(0, share));
  const lightness = isDark() ? 0.24 + 0.66 * t : 0.965 - 0.62 * t;
  const hue = isDark() ? 265 - 165 * t : 105 + 160 * t;
  return oklch(lightness, 0.02 + 0.105 * Math.sin(Math.PI * (0.12 + 0.76 * t)), hue);
}

// For marks on either background: readable in both themes.
function markRamp(share) {
  const t = Math.min(1, Math.max(0, share));
  return oklch(isDark() ? 0.45 + 0.45 * t : 0.82 - 0.5 * t, 0.13, isDark() ? 265 - 165 * t : 95 + 170 * t);
}

// A ramp as 256 colours, for maps with many cells.
const shadesOf = (ramped) => Array.from({ length: 256 }, (_, i) => css(ramped(i / 255)));

const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;
