"""What Phase 3's stages share: adapters on one base, pairs, rewards, rollouts, and PPO's trainer."""
