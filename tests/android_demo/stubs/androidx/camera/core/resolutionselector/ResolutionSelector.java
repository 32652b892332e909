package androidx.camera.core.resolutionselector;

public final class ResolutionSelector {
    public static final class Builder {
        public Builder setResolutionStrategy(ResolutionStrategy resolutionStrategy) { return this; }
        public ResolutionSelector build() { return null; }
    }
}
