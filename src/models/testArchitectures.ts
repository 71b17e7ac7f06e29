/**
 * @file For tests only: config keys of small and published architectures.
 */
export const TINY_KEYS = {
  image_size: 32, embed_dim: 12, depth: 4, heads: 3, patch_size: 8, mlp_ratio: 2, out_indices: [0, 1, 2, 3],
  neck_channels: 5, head_channels: 6, drop_path: 0.3, dropout: 0.2, layer_norm_eps: 1e-6,
}; // prettier-ignore

export const TINYUSFM_KEYS = {
  image_size: 224, embed_dim: 192, depth: 12, heads: 12, patch_size: 16, mlp_ratio: 4, out_indices: [3, 5, 7, 11],
  neck_channels: 48, head_channels: 128, drop_path: 0.1, dropout: 0.1, layer_norm_eps: 1e-6,
}; // prettier-ignore

export const SMALL_SEGFORMER_KEYS = {
  image_size: 32, hidden_sizes: [4, 6, 8, 8], depths: [1, 2, 1, 1], num_attention_heads: [1, 2, 2, 4],
  sr_ratios: [4, 2, 2, 1], mlp_ratios: [2, 2, 2, 2], decoder_hidden_size: 6, drop_path: 0.3,
  classifier_dropout: 0.2, layer_norm_eps: 1e-5,
}; // prettier-ignore

/** MiT-B0 to B5: hidden sizes, depths, decoder size (reference/models.md section 4.1). */
const MIT = {
  b0: [[32, 64, 160, 256], [2, 2, 2, 2], 256],
  b1: [[64, 128, 320, 512], [2, 2, 2, 2], 256],
  b2: [[64, 128, 320, 512], [3, 4, 6, 3], 768],
  b3: [[64, 128, 320, 512], [3, 4, 18, 3], 768],
  b4: [[64, 128, 320, 512], [3, 8, 27, 3], 768],
  b5: [[64, 128, 320, 512], [3, 6, 40, 3], 768],
} as const; // prettier-ignore

export function segFormerKeys(size: keyof typeof MIT): Record<string, unknown> {
  const [hidden, depths, decoder] = MIT[size];
  return {
    image_size: 512, hidden_sizes: hidden, depths, num_attention_heads: [1, 2, 5, 8], sr_ratios: [8, 4, 2, 1],
    mlp_ratios: [4, 4, 4, 4], decoder_hidden_size: decoder, drop_path: 0.1, classifier_dropout: 0.1, layer_norm_eps: 1e-5,
  }; // prettier-ignore
}
