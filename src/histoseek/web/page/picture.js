/** A picture that came in: its scale if its file states one, a preview, and whether it is blank. */

/** As the server takes them; a test holds these numbers against the server's own. */
const MAX_BYTES = 20 * 1024 * 1024;
const KINDS = ['image/png', 'image/jpeg', 'image/tiff', 'image/webp', 'image/bmp', 'image/x-ms-bmp'];
const SANE_MPP = [0.05, 20];
const PREVIEW_PX = 1024;

/** When a picture counts as blank, as the server tells it: glass is bright and colourless, or all has one grey. */
const BRIGHT = 215;
const COLOURLESS = 20;
const BLANK_SHARE = 0.97;
const EVEN_SPREAD = 2.0;

const isSane = (mpp) => mpp >= SANE_MPP[0] && mpp <= SANE_MPP[1];

/** µm per pixel from a PNG's pHYs chunk; null without one. */
function pngMpp(view) {
  let at = 8;
  while (at + 12 <= view.byteLength) {
    const length = view.getUint32(at);
    const kind = view.getUint32(at + 4);
    if (kind === 0x70485973 && at + 17 <= view.byteLength) {
      const perMetre = view.getUint32(at + 8);
      return view.getUint8(at + 16) === 1 && perMetre ? 1e6 / perMetre : null;
    }
    if (kind === 0x49444154) return null;
    at += 12 + length;
  }
  return null;
}

/** µm per pixel from a JPEG's JFIF header; null without one. */
function jpegMpp(view) {
  if (view.byteLength < 18 || view.getUint32(6) !== 0x4a464946) return null;
  const unit = view.getUint8(13);
  const density = view.getUint16(14);
  if (!density) return null;
  return unit === 2 ? 1e4 / density : unit === 1 ? 25400 / density : null;
}

/** The scale that the file states; screen resolutions such as 72 dpi count as unknown. */
async function statedMpp(file) {
  const view = new DataView(await file.slice(0, 65536).arrayBuffer());
  if (view.byteLength < 20) return null;
  const mpp = view.getUint32(0) === 0x89504e47 ? pngMpp(view) : view.getUint16(0) === 0xffd8 ? jpegMpp(view) : null;
  return mpp && isSane(mpp) ? mpp : null;
}

/** A canvas with the picture made smaller, and its full size; null where the browser cannot decode it (TIFF). */
async function previewOf(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const shrink = Math.min(1, PREVIEW_PX / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement('canvas');
    canvas.width = Math.max(1, Math.round(bitmap.width * shrink));
    canvas.height = Math.max(1, Math.round(bitmap.height * shrink));
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.fillStyle = 'white'; // what is transparent shows as glass does
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    const size = { width: bitmap.width, height: bitmap.height };
    bitmap.close();
    return { canvas, ...size };
  } catch {
    return null;
  }
}

/** Why a picture shows hardly any tissue: white, or of one colour; null where it may show some. */
function whyBlank(canvas) {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const pixels = data.length / 4;
  let [white, sum, squares] = [0, 0, 0];
  for (let at = 0; at < data.length; at += 4) {
    const [red, green, blue] = [data[at], data[at + 1], data[at + 2]];
    const low = Math.min(red, green, blue);
    if (low >= BRIGHT && Math.max(red, green, blue) - low <= COLOURLESS) white += 1;
    const grey = 0.299 * red + 0.587 * green + 0.114 * blue;
    sum += grey;
    squares += grey * grey;
  }
  if (white / pixels >= BLANK_SHARE) return `${Math.round((white / pixels) * 100)} % of it is white`;
  const spread = Math.sqrt(Math.max(0, squares / pixels - (sum / pixels) ** 2));
  return spread < EVEN_SPREAD ? 'all of it has one colour' : null;
}

function refusal(file) {
  if (file.type && !KINDS.includes(file.type)) return `“${file.name}” is no PNG, JPEG, TIFF, WebP or BMP picture.`;
  if (file.size > MAX_BYTES) return `“${file.name}” is larger than 20 MB; crop it, or index it on the command line.`;
  return file.size === 0 ? `“${file.name}” is empty.` : null;
}

/** What the page knows of a picture before it is sent. Throws an Error whose message says why it cannot be asked. */
export async function readPicture(file) {
  const refused = refusal(file);
  if (refused) throw new Error(refused);
  const [mpp, preview] = await Promise.all([statedMpp(file), previewOf(file)]);
  return { file, name: file.name || 'pasted picture', mpp, preview, blank: preview ? whyBlank(preview.canvas) : null };
}

export const checkedMpp = (text) => {
  const mpp = Number(String(text).replace(',', '.'));
  return isSane(mpp) ? mpp : null;
};
