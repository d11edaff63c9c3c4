"""What a user names as a model and gives it to read: folders, artefacts, sentences, pictures, scores."""
