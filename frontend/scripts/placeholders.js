// Draws the pictures of products that have none: rangoli patterns, the same ones on every run.
import { mkdirSync, writeFileSync } from 'node:fs';

const PALETTES = [
  ['#fdf2e9', '#c2410c', '#f59e0b', '#8a1c3b'],
  ['#eef6f1', '#14683c', '#65a30d', '#f59e0b'],
  ['#f3f0fa', '#5b3a96', '#c084fc', '#f59e0b'],
  ['#eaf4f6', '#0e6678', '#38bdf8', '#e11d48'],
  ['#fdf0f3', '#8a1c3b', '#f472b6', '#c2410c'],
  ['#fbf6e6', '#854d0e', '#eab308', '#14683c'],
];
const CENTRE = 200;

const target = new URL('../src/assets/placeholders/', import.meta.url);
mkdirSync(target, { recursive: true });

/** `count` copies of a shape around the centre. */
function ring(count, shape, turn = 0) {
  const copies = Array.from({ length: count }, (_, index) => {
    const angle = Math.round(((360 / count) * index + turn) * 100) / 100;
    return `<use href="#${shape.id}" transform="rotate(${angle} ${CENTRE} ${CENTRE})"/>`;
  });
  return `<defs>${shape.drawing}</defs>${copies.join('')}`;
}

function petal(id, from, to, width, colour) {
  const middle = (from + to) / 2;
  const [near, far, half] = [CENTRE - from, CENTRE - to, CENTRE - middle];
  const path =
    `M${CENTRE} ${near}Q${CENTRE + width} ${half} ${CENTRE} ${far}` +
    `Q${CENTRE - width} ${half} ${CENTRE} ${near}`;
  return { id, drawing: `<path id="${id}" d="${path}" fill="${colour}"/>` };
}

function dot(id, distance, radius, colour) {
  const drawing = `<circle id="${id}" cx="${CENTRE}" cy="${CENTRE - distance}" r="${radius}" fill="${colour}"/>`;
  return { id, drawing };
}

PALETTES.forEach(([ground, first, second, third], index) => {
  [8, 12].forEach((count, variant) => {
    const wide = variant === 0 ? 34 : 24;
    const drawing = [
      `<rect width="400" height="400" fill="${ground}"/>`,
      ring(count, petal('a', 58, 128, wide, first)),
      ring(count, petal('b', 28, 92, wide * 0.7, second), 180 / count),
      ring(count, dot('c', 112, 6, third), 180 / count),
      ring(count * 2, dot('d', 146, 3.5, first), 90 / count),
      `<circle cx="${CENTRE}" cy="${CENTRE}" r="26" fill="${third}"/>`,
      `<circle cx="${CENTRE}" cy="${CENTRE}" r="13" fill="${ground}"/>`,
    ].join('');
    const name = `${String(index * 2 + variant).padStart(2, '0')}.svg`;
    writeFileSync(
      new URL(name, target),
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 400">${drawing}</svg>\n`,
    );
  });
});
